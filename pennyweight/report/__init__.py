"""report: a sweep as tables, charts and one HTML page that needs nothing beside itself."""
