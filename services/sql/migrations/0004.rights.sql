-- What a right cannot say of the log (services/rights.py says the rest), and where intake leaves to the keeper what it may
-- not do itself.

CREATE TABLE quarantine_left (
    quarantine_id uuid PRIMARY KEY
);
COMMENT ON TABLE quarantine_left IS 'A row is a record that intake has taken out of the quarantine, and whose key the keeper has still to destroy.';

CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE insufficient_privilege USING MESSAGE = 'only the keeper may do that to a row of ' || TG_TABLE_NAME;
END
$$;
COMMENT ON FUNCTION refuse_change() IS 'Is what a trigger calls where a role may write a column, and not in this way.';

CREATE TRIGGER only_what_waits BEFORE UPDATE OR DELETE ON quarantine FOR EACH ROW
WHEN (old.waits_for IS NULL AND NOT pg_has_role(current_user, 'sealdesk_keeper', 'USAGE'))
EXECUTE FUNCTION refuse_change();

-- A batch counts one; of two intakes one may come long before the other.
CREATE TRIGGER issue_seen_only_up BEFORE UPDATE ON issue_seen FOR EACH ROW
WHEN ((new.issue < old.issue OR new.issue - old.issue > 1000000) AND NOT pg_has_role(current_user, 'sealdesk_keeper', 'USAGE'))
EXECUTE FUNCTION refuse_change();

-- What destroyed something is said by whoever may destroy, and by nobody else.
CREATE TRIGGER only_who_destroys_says_so BEFORE INSERT ON facts_events FOR EACH ROW
WHEN (new.topic IN ('sealdesk.subject.shredded.v1', 'sealdesk.content.shredded.v1', 'sealdesk.tenant.closed.v1')
      AND NOT pg_has_role(current_user, 'sealdesk_keeper', 'USAGE'))
EXECUTE FUNCTION refuse_change();
