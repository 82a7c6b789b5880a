"""Predictions for many images: which ones, row by row, and written for people and programs."""
