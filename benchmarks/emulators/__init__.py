"""Emulators: what would any run of a public sweep's recipe have lost?"""
