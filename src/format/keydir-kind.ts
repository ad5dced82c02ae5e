/** How a keydir is organised; src/store/README.md says what each kind trades. Manifest and checkpoint name it. */
export type KeydirKind = 'btree' | 'hash' | 'skiplist' | 'bplustree'
