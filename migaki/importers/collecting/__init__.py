"""The parts of `import pictures_by_word`: sources of addresses, safe fetching, the collected folder, its ranking."""
