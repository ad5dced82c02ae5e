/**
 * The least that a store of Firkin's design can be: a hash off the heap that points into a log. It
 * has no checksums, sequences, order, expiry, deletes, batches, growth or recovery. The time that
 * Firkin takes beyond it is their price.
 */

import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { Mode, OpenContender } from '../contender.ts'
import { keyAt, touch, type Values } from '../workload.ts'

const SLOT_WORDS = 2
const HEADER_SIZE = 4
/** The size of Firkin's stage. */
const STAGE_SIZE = 256 * 1024

/** The part of a store that the prototype has. */
export type OpenPrototype = Pick<OpenContender, 'read' | 'put' | 'settle' | 'close'>

/** Makes a contender of the prototype, with space for `recordCount` records. */
export function prototype(keys: number, recordCount: number) {
  return {
    name: 'prototype',
    open: async (directory: string, _: Mode, values: Values): Promise<OpenPrototype> =>
      new Prototype(directory, keys, recordCount, values),
  }
}

/** Keys of ASCII characters and values of one size, each pair in its own record. */
class Prototype implements OpenPrototype {
  readonly #file: number
  readonly #values: Values
  readonly #mask: number
  readonly #slots: Uint32Array
  readonly #log: Buffer
  #end = HEADER_SIZE
  #writtenTo = 0

  constructor(directory: string, keys: number, recordCount: number, values: Values) {
    mkdirSync(directory, { recursive: true })
    this.#file = openSync(join(directory, 'log'), 'w')
    this.#values = values
    const capacity = 2 ** Math.ceil(Math.log2(keys * 1.5))
    this.#mask = capacity - 1
    this.#slots = new Uint32Array(capacity * SLOT_WORDS)
    this.#log = Buffer.alloc(recordCount * (HEADER_SIZE + keyAt(0).length + values.size))
  }

  read(order: Uint32Array, from: number, to: number): number {
    let found = 0
    let sum = 0
    for (let at = from; at < to; at++) {
      const value = this.#get(keyAt(order[at] as number))
      if (value === undefined) continue
      found++
      sum += touch(value)
    }
    return sum < 0 ? -1 : found
  }

  put(index: number): void {
    const key = keyAt(index)
    const value = this.#values.next()
    const log = this.#log
    const at = this.#end
    const end = at + HEADER_SIZE + key.length + value.length
    if (end > log.length) throw new Error('The log of the prototype is full')
    log.writeUInt16LE(key.length, at)
    log.writeUInt16LE(value.length, at + 2)
    for (let place = 0; place < key.length; place++) {
      log[at + HEADER_SIZE + place] = key.charCodeAt(place)
    }
    log.set(value, end - value.length)
    this.#end = end
    const hash = hashOf(key)
    const slot = this.#find(key, hash)
    this.#slots[slot] = hash
    this.#slots[slot + 1] = at
    if (end - this.#writtenTo >= STAGE_SIZE) this.#write()
  }

  async settle(): Promise<void> {
    this.#write()
  }

  async close(): Promise<void> {
    this.#write()
    closeSync(this.#file)
  }

  #get(key: string): Buffer | undefined {
    const at = this.#slots[this.#find(key, hashOf(key)) + 1] as number
    if (at === 0) return undefined
    const log = this.#log
    const from = at + HEADER_SIZE + key.length
    const value = Buffer.allocUnsafe(log.readUInt16LE(at + 2))
    log.copy(value, 0, from, from + value.length)
    return value
  }

  #write(): void {
    writeSync(this.#file, this.#log, this.#writtenTo, this.#end - this.#writtenTo)
    this.#writtenTo = this.#end
  }

  /** Returns the slot of a key, or the empty slot that it would take. */
  #find(key: string, hash: number): number {
    const slots = this.#slots
    const mask = this.#mask
    for (let place = hash & mask; ; place = (place + 1) & mask) {
      const slot = place * SLOT_WORDS
      const at = slots[slot + 1] as number
      if (at === 0 || (slots[slot] === hash && this.#isKey(key, at))) return slot
    }
  }

  #isKey(key: string, at: number): boolean {
    const log = this.#log
    if (log.readUInt16LE(at) !== key.length) return false
    for (let place = 0; place < key.length; place++) {
      if (log[at + HEADER_SIZE + place] !== key.charCodeAt(place)) return false
    }
    return true
  }
}

function hashOf(key: string): number {
  let hash = 0x811c9dc5
  for (let place = 0; place < key.length; place++) {
    hash = Math.imul(hash ^ key.charCodeAt(place), 0x01000193)
  }
  hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b)
  return (hash ^ (hash >>> 13)) >>> 0
}
