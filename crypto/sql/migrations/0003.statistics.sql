-- Statistics repeat values of columns: of a key, they would keep what a shred drops until the next ANALYZE.

ALTER TABLE wrapping_keys ALTER COLUMN wrapped SET STATISTICS 0;
ALTER TABLE subjects ALTER COLUMN wrapped SET STATISTICS 0;
ALTER TABLE leaves ALTER COLUMN wrapped SET STATISTICS 0;
ALTER TABLE pairs ALTER COLUMN wrapped SET STATISTICS 0;

-- No ANALYZE removes what an earlier one has gathered. A change of type does, also one to the same type: no row is written
-- anew by it.
ALTER TABLE wrapping_keys ALTER COLUMN wrapped TYPE bytea;
ALTER TABLE subjects ALTER COLUMN wrapped TYPE bytea;
ALTER TABLE leaves ALTER COLUMN wrapped TYPE bytea;
ALTER TABLE pairs ALTER COLUMN wrapped TYPE bytea;
-- It takes back how the column is stored, though.
ALTER TABLE leaves ALTER COLUMN wrapped SET STORAGE EXTERNAL;
