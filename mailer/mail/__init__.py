"""One mail: templates in a sandbox, styles inlined, fields filled, MIME and DKIM."""
