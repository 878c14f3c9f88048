"""Tables: how do other people's logs become runs?"""
