"""Store: how is a study kept, and by whom may it be written?"""
