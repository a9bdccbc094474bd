"""Profiles: what a user wants live data of, admitted by rules that hold under concurrency."""
