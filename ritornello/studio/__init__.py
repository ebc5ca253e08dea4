"""Pages in the browser: the studio, and the listening test. They are served here, and need nothing from elsewhere."""
