import test from 'ava'
import { FilesQuery } from '../../control-plane/dialects/fleet/point-schemas.ts'
import { bytePath } from '../archive/byte-path.ts'
import { decodePlace, encodeCursor, encodePlace } from './cursor.ts'

/** The longest that most programs can name. */
const PATH_MAX = 4096

test('a place among the longest paths can be handed back, whatever they are made of', (t) => {
  const paths = ['ж', '\u0001', '"', '\u007f'].map((character) =>
    bytePath(character.repeat(PATH_MAX)).slice(0, PATH_MAX),
  )
  const bytes = bytePath(Buffer.from(Array.from({ length: PATH_MAX }, (_, n) => n % 256)))
  for (const path of [...paths, bytes, 'a\0', '']) {
    const cursor = encodePlace(path)
    t.is(FilesQuery.parse({ cursor }).cursor, cursor)
    t.deepEqual(decodePlace(cursor), { at: path, after: undefined })
    t.deepEqual(decodePlace(encodePlace(path, true)), { at: path, after: true })
  }
  for (const odd of ['', 'x', encodeCursor({}), encodeCursor({ path: '%' }), encodeCursor({ path: 'aa', after: 1 })])
    t.throws(() => decodePlace(odd), { code: 'invalid' }, odd)
})
