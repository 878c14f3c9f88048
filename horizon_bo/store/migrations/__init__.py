"""Migrations: which steps lead from an older format of a study to the next?"""
