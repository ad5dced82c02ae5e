/** The names of the keydir kinds; manifests and checkpoints contain them. */

/** The organisation of a keydir; src/store/README.md compares the kinds. */
export type KeydirKind = 'btree' | 'hash' | 'skiplist' | 'bplustree'
