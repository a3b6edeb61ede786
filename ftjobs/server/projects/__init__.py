"""What one project can do, one file a noun; `ftjobs.server.project` puts it together."""
