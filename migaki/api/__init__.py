"""migaki from Python: `import migaki as mg`."""
