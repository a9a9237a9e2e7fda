-- The leaves come last in the tree's table, so that they are appended at its end and fill its pages: a node's place is now
-- index - (level << 48).
UPDATE tree_node SET place = (place & 281474976710655) - (place >> 48 << 48) WHERE place >= 281474976710656;
