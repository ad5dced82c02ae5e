/**
 * Measures each kind of keydir, by the number of keys: the time of an operation, the memory of a
 * key, and the longest single insert. Run `npm run build` first, then:
 *
 *     node bench/keydir.js [--keys 1000000] [--kinds btree,hash]
 *
 * Keys are random, of 16 bytes, and made for each operation, in random order. The time that takes
 * is measured separately and subtracted.
 */

import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { createKeydir } from '../dist/src/keydir/create.js'

const KINDS = /** @type {const} */ (['btree', 'hash', 'skiplist', 'bplustree'])
const KEY_COUNTS = [1e4, 1e5, 1e6, 1e7]
const KEY_SIZE = 16

/** Small keydirs are measured several times, so that their code is optimised. */
const LEAST_OPERATIONS = 2e6

const { values: options } = parseArgs({
  options: {
    keys: { type: 'string', default: KEY_COUNTS.join() },
    kinds: { type: 'string', default: KINDS.join() },
  },
})

const key = new Uint8Array(KEY_SIZE)
const keyWords = new Uint32Array(key.buffer)

/**
 * Writes key number `index`. No two are equal, since the mixing is one to one.
 *
 * @param {number} index
 */
function makeKey(index) {
  let x = index | 0
  for (let i = 0; i < keyWords.length; i++) {
    x = Math.imul(x ^ (x >>> 16), 0x7feb352d)
    x = Math.imul(x ^ (x >>> 15), 0x846ca68b)
    x = ((x ^ (x >>> 16)) + 0x9e3779b9) | 0
    keyWords[i] = x
  }
}

/**
 * Lists the numbers below `count`, in an order that is random but always the same.
 *
 * @param {number} count
 */
function shuffled(count) {
  const order = Uint32Array.from({ length: count }, (_, i) => i)
  let state = 1
  for (let i = count - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    const j = Math.floor((state / 2 ** 32) * (i + 1))
    const other = order[i]
    order[i] = order[j]
    order[j] = other
  }
  return order
}

/**
 * Returns the nanoseconds of each of `count` operations that `run` makes.
 *
 * @param {number} count
 * @param {() => void} run
 */
function timed(count, run) {
  const start = performance.now()
  run()
  return ((performance.now() - start) * 1e6) / count
}

/**
 * Measures one kind of keydir with `count` keys.
 *
 * @param {(typeof KINDS)[number]} kind
 * @param {number} count
 */
function measure(kind, count) {
  const order = shuffled(count)
  const rounds = Math.max(1, Math.min(20, Math.round(LEAST_OPERATIONS / count)))
  const best = { insert: Infinity, hit: Infinity, miss: Infinity, remove: Infinity }
  let bytesPerKey = 0
  let longest = Infinity
  let sink = 0

  let making = Infinity
  for (let round = 0; round < rounds + 2; round++) {
    making = Math.min(
      making,
      timed(count, () => {
        for (let i = 0; i < count; i++) {
          makeKey(order[i])
          sink += keyWords[3]
        }
      }),
    )
  }

  for (let round = 0; round < rounds; round++) {
    const keydir = createKeydir(kind)
    const insert = timed(count, () => {
      for (let i = 0; i < count; i++) {
        makeKey(i)
        keydir.insert(key, KEY_SIZE, 1, i, 100, i, 0)
      }
    })
    bytesPerKey = keydir.byteSize / count
    const hit = timed(count, () => {
      for (let i = 0; i < count; i++) {
        makeKey(order[i])
        sink += keydir.find(key, KEY_SIZE)
      }
    })
    const miss = timed(count, () => {
      for (let i = 0; i < count; i++) {
        makeKey(order[i] + count)
        sink += keydir.find(key, KEY_SIZE)
      }
    })
    const remove = timed(count, () => {
      for (let i = 0; i < count; i++) {
        makeKey(order[i])
        keydir.remove(keydir.find(key, KEY_SIZE))
      }
    })
    best.insert = Math.min(best.insert, insert)
    best.hit = Math.min(best.hit, hit)
    best.miss = Math.min(best.miss, miss)
    best.remove = Math.min(best.remove, remove)
  }

  // Twice, since the machine stalls by itself at times.
  for (let round = 0; round < 2; round++) {
    const keydir = createKeydir(kind)
    let most = 0
    for (let i = 0; i < count; i++) {
      makeKey(i)
      const start = performance.now()
      keydir.insert(key, KEY_SIZE, 1, i, 100, i, 0)
      most = Math.max(most, performance.now() - start)
    }
    longest = Math.min(longest, most)
  }

  const columns = [
    kind.padEnd(10),
    String(count).padStart(9),
    ...[best.insert, best.hit, best.miss, best.remove].map((time) =>
      Math.max(0, time - making)
        .toFixed(0)
        .padStart(7),
    ),
    bytesPerKey.toFixed(1).padStart(10),
    longest.toFixed(2).padStart(10),
  ]
  console.log(columns.join(' '), Number.isNaN(sink) ? 'NaN' : '')
}

console.log(`Node ${process.version}, ${cpus()[0]?.model ?? 'an unknown processor'}`)
console.log(
  `Keys of ${KEY_SIZE} bytes; nanoseconds an operation, bytes a key, milliseconds of the longest insert`,
)
console.log('kind            keys  insert     hit    miss  remove      bytes    longest')
for (const count of options.keys.split(',').map(Number)) {
  for (const kind of KINDS) {
    if (options.kinds.split(',').includes(kind)) measure(kind, count)
  }
}
