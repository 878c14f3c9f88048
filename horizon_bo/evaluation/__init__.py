"""Evaluation: how good would the tuner have been?"""
