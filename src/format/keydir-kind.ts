/** How a keydir is organised; see the README for what each kind trades. Manifest and checkpoint name it. */
export type KeydirKind = 'btree' | 'hash' | 'skiplist' | 'bplustree'
