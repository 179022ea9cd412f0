"""Export versions to the registries of other programs: one module per target."""
