"""Many images into files of results, so that the work can be stopped and resumed."""
