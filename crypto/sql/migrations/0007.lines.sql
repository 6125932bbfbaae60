-- The gate asks every minute which lines of the ledger are carried out.

CREATE INDEX shreds_by_line ON shreds (line) WHERE line IS NOT NULL;
