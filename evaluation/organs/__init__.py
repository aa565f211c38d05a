"""The volume test of promptless models: `python -m evaluation.organs`. classes tells which label is which class, volumes
reads images with their truth, measures scores an organ, table writes and averages the scores, pictures draws them."""
