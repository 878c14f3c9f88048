"""Problems: what is there to be solved, and where does it come from?"""
