-- What is known of the topics that records of shredded people may still lie in. These run on the key database.

-- name: unmarked
-- Whether a shred waits that no mark covers yet, or a mark is open.
SELECT EXISTS (SELECT FROM shreds WHERE step = 'finished' AND source_mark IS NULL AND certificate->>'sources' = %(read)s
                                    AND certificate->>'source_cleared_since' IS NULL) AS unmarked,
       EXISTS (SELECT FROM source_marks) AS open;

-- name: begin_mark<!
INSERT INTO source_marks (cluster, noted_at, looked_at, ends) VALUES (%(cluster)s, %(at)s, %(at)s, %(ends)s) RETURNING mark;

-- name: mark_shreds!
-- The ends were read before this began, and a shred that ended in between may have later ones.
UPDATE shreds SET source_mark = %(mark)s
WHERE shred_id = ANY(%(shreds)b::uuid[]) AND source_mark IS NULL;

-- name: shreds_to_mark
SELECT shred_id FROM shreds WHERE step = 'finished' AND source_mark IS NULL AND certificate->>'sources' = %(read)s
                              AND certificate->>'source_cleared_since' IS NULL;

-- name: marks
SELECT mark, cluster, noted_at, ends, held_since, looked_at, waits_for FROM source_marks ORDER BY mark;

-- name: look_at_mark!
-- Not if somebody else has looked meanwhile, or has spoken for a broker.
UPDATE source_marks SET ends = %(ends)s, held_since = %(held_since)s, looked_at = %(at)s, waits_for = %(waits_for)s
WHERE mark = %(mark)s AND looked_at = %(looked_at)s AND ends = %(known)s;

-- name: shreds_of_mark
SELECT shred_id FROM shreds WHERE source_mark = %(mark)s;

-- name: end_mark!
-- Not if somebody else has looked meanwhile, and has perhaps seen what is in the way.
DELETE FROM source_marks WHERE mark = %(mark)s AND looked_at = %(looked_at)s AND ends = %(known)s;

-- name: marks_to_change
SELECT mark, ends FROM source_marks ORDER BY mark FOR UPDATE;

-- name: set_ends!
UPDATE source_marks SET ends = %(ends)s WHERE mark = %(mark)s;
