"""The tests of importers share small sets; see `foreign_sets`."""
