-- What a right cannot say of the tables of keys (services/rights.py says the rest): for everybody but the keeper, what was
-- told stays told and leads where it led, and counters go only up, and no further than a batch can count.

CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE insufficient_privilege USING MESSAGE = 'only the keeper may do that to a row of ' || TG_TABLE_NAME;
END
$$;
COMMENT ON FUNCTION refuse_change() IS 'Is what a trigger calls where a role may write a column, and not in this way.';

CREATE TRIGGER told_stays_told BEFORE UPDATE ON register FOR EACH ROW
WHEN (old.told AND (NOT new.told OR new.sealed <> old.sealed OR new.page <> old.page)
      AND NOT pg_has_role(current_user, 'sealdesk_keeper', 'USAGE'))
EXECUTE FUNCTION refuse_change();

CREATE TRIGGER fences_only_later BEFORE UPDATE ON fences FOR EACH ROW
WHEN (new.day < old.day AND NOT pg_has_role(current_user, 'sealdesk_keeper', 'USAGE'))
EXECUTE FUNCTION refuse_change();

CREATE TRIGGER issued_one_by_one BEFORE UPDATE ON issued FOR EACH ROW
WHEN (new.issue <> old.issue + 1 AND NOT pg_has_role(current_user, 'sealdesk_keeper', 'USAGE'))
EXECUTE FUNCTION refuse_change();

CREATE TRIGGER children_only_up BEFORE UPDATE ON wrapping_keys FOR EACH ROW
WHEN ((new.children < old.children OR new.children - old.children > 100000) AND NOT pg_has_role(current_user, 'sealdesk_keeper', 'USAGE'))
EXECUTE FUNCTION refuse_change();
