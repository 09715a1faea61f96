"""The classifier, its two back ends, results, many pictures at once."""
