"""Engines: where runs are sent to, behind one narrow protocol."""
