"""Published: what the literature says about learning rate, batch, loss and schedule.

Every module here is pure, needs numpy and scipy at most, and answers without a training run.
"""
