/** Keys that every method refuses. */

import { MAX_KEY_SIZE } from '../../src/format/record.ts'

/** Keys that are refused, with the error and a part of its message. */
export const wrongKeys: readonly (readonly [key: unknown, kind: typeof TypeError, text: string])[] =
  [
    [undefined, TypeError, 'A key must be a string or a Uint8Array, not undefined'],
    [null, TypeError, 'not null'],
    [7, TypeError, 'not a number'],
    [{}, TypeError, 'not an object'],
    [[1, 2], TypeError, 'not an object'],
    [new ArrayBuffer(3), TypeError, 'not an object'],
    [Symbol('key'), TypeError, 'not a symbol'],
    ['', RangeError, 'Key is empty; the least is 1 byte'],
    [new Uint8Array(0), RangeError, 'Key is empty'],
    ['x'.repeat(MAX_KEY_SIZE + 1), RangeError, 'Key is 65536 bytes; the limit is 65535'],
    ['é'.repeat(32_768), RangeError, 'Key is 65536 bytes; the limit is 65535'],
    [new Uint8Array(MAX_KEY_SIZE + 1), RangeError, 'Key is 65536 bytes; the limit is 65535'],
    ['\ud800', TypeError, 'The key has a lone surrogate'],
    ['pair \udc00\ud800', TypeError, 'The key has a lone surrogate'],
  ]
