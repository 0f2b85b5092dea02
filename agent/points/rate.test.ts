import test from 'ava'
import type { Progress } from '../../shared/job-event.ts'
import { Rated } from './rate.ts'

test('what has grown since it was counted passes its old total without being more than all of it', (t) => {
  const told: Progress[] = []
  let nowMs = 0
  using rated = new Rated(
    (progress) => void told.push(progress),
    { totalBytes: 1_000, totalFiles: 10 },
    () => nowMs,
  )
  const tell = (bytes: number, files: number) => {
    nowMs += 1_000
    rated.progress({ phase: 'write', bytes, files })
    return told.at(-1)
  }
  tell(0, 0)
  t.deepEqual(tell(500, 5), {
    ...{ phase: 'write', bytes: 500, files: 5, totalBytes: 1_000, totalFiles: 10 },
    ...{ bytesPerSecond: 500, percent: 50, secondsLeft: 1 },
  })
  t.like(tell(1_000, 10), { totalBytes: 1_000, totalFiles: 10, percent: 100, secondsLeft: 0 })
  t.deepEqual(tell(1_100, 10), { phase: 'write', bytes: 1_100, files: 10, totalFiles: 10, bytesPerSecond: 367 })
  t.deepEqual(tell(1_300, 11), { phase: 'write', bytes: 1_300, files: 11, bytesPerSecond: 325 })
})
