"""Report: how is a study shown?"""
