"""Examples: what does a study look like, without one of your own?"""
