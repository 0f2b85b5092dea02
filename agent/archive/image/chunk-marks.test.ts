import test from 'ava'
import fc from 'fast-check'
import { ChunkMarks } from './chunk-marks.ts'

const CHUNK = 8

test('every chunk that may differ is one to look at, and of what became zeros only what the point below holds', async (t) => {
  const range = fc.record({
    offset: fc.nat({ max: 90 }),
    bytes: fc.oneof(fc.nat({ max: 30 }), fc.constant(Number.POSITIVE_INFINITY)),
    isWritten: fc.boolean(),
  })
  const image = fc.array(fc.constantFrom(0, 0, 0, 1), { minLength: 1, maxLength: 60 })
  await fc.assert(
    fc.asyncProperty(image, fc.nat({ max: 30 }), fc.array(range), async (before, growth, ranges) => {
      const now = [...before, ...Array.from({ length: growth }, () => 0)]
      for (const { offset, bytes, isWritten } of ranges) {
        for (let at = offset; at < Math.min(offset + bytes, now.length); at += 1) now[at] = isWritten ? 2 : 0
      }
      const marks = ChunkMarks.of({ sizeBytes: now.length, chunkBytes: CHUNK })
      for (const one of ranges) marks?.mark(one)
      const of = (image: readonly number[], number: number) => image.slice(number * CHUNK, (number + 1) * CHUNK)
      const count = Math.ceil(now.length / CHUNK)
      const isHeld = (number: number) => of(before, number).some((byte) => byte !== 0)
      async function* held() {
        for (let number = 0; number < count; number += 1) if (isHeld(number)) yield number
      }
      const told = [...((await marks?.changed({ sizeBytes: before.length, held })) ?? [])]
      t.deepEqual(
        told,
        [...new Set(told)].sort((a, b) => a - b),
        'in order, each once',
      )
      const ends = before.length === now.length ? [] : [before.length, now.length]
      for (let number = 0; number < count; number += 1) {
        const differs =
          of(now, number).join() !== of(before, number).join() &&
          (isHeld(number) || of(now, number).some((byte) => byte !== 0))
        if (differs) t.true(told.includes(number), `chunk ${number}`)
        const isTouched = ranges.some(({ offset, bytes, isWritten }) => {
          const reaches = offset < (number + 1) * CHUNK && offset + bytes > number * CHUNK && bytes > 0
          return reaches && (isWritten || isHeld(number))
        })
        const isEnd = ends.some((end) => Math.floor(end / CHUNK) === number)
        if (!isTouched && !isEnd) t.false(told.includes(number), `chunk ${number}`)
      }
    }),
  )
})

test('of an image that became smaller, or has too many chunks, nothing is told', async (t) => {
  const none = async function* () {}
  t.is(await ChunkMarks.of({ sizeBytes: 10, chunkBytes: CHUNK })?.changed({ sizeBytes: 11, held: none }), undefined)
  t.is(ChunkMarks.of({ sizeBytes: 2 ** 40, chunkBytes: CHUNK }), undefined)
})
