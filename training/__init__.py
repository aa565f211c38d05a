"""Training: `python -m training RECIPE.toml --data DIR --out DIR [--resume]`."""
