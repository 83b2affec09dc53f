"""Inputs besides text."""
