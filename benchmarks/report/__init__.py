"""Report: what do the results say, as a page?"""
