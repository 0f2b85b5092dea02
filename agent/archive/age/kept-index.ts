import { rm } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { FleetError } from '../../../shared/errors.ts'
import { FRAMES, INDEX } from '../frame-table.ts'
import { LocalSink } from '../local-sink.ts'
import { LocalPointFiles, type PointFiles } from '../range-source.ts'
import type { ArchiveSink, SinkFile } from '../sink.ts'

const KEPT: ReadonlySet<string> = new Set([INDEX, FRAMES])
/** Where a LocalSink writes; one that is left there is of an attempt that ended badly. */
const PARTIAL = '.partial'

/**
 * Keeps a plain copy of a point's index and table of frames on this host: an increment on an encrypted point, and browsing it,
 * then need no private key. It goes around the sink that encrypts. The copy is on disk before the point is published and takes
 * its name right after: a crash in between leaves a point without a copy, never a copy of another point.
 * @param directory of the copy, not of the target; its parent exists. Files of mode 0600 in one of 0700
 */
export function keepingIndex(sink: ArchiveSink, directory: string): ArchiveSink {
  const copy = new LocalSink(dirname(directory), basename(directory))
  let begun = false
  return {
    async open(name, signal) {
      if (!KEPT.has(name)) return sink.open(name, signal)
      if (!begun) await rm(`${directory}${PARTIAL}`, { recursive: true, force: true })
      begun = true
      const kept = await copy.open(name, signal)
      return twice(await sink.open(name, signal), kept)
    },
    async commit() {
      await sink.commit()
      await rm(directory, { recursive: true, force: true })
      await copy.commit()
    },
    async abort() {
      try {
        await sink.abort()
      } finally {
        await copy.abort()
      }
    },
  }
}

function twice(file: SinkFile, kept: SinkFile): SinkFile {
  return {
    async write(chunk) {
      await kept.write(chunk)
      await file.write(chunk)
    },
    async close() {
      await kept.close()
      await file.close()
    },
    ...(file.stored === undefined ? {} : { stored: file.stored.bind(file) }),
  }
}

/** A point of which only the kept copy can be read: its index, and nothing of its content. */
export function keptIndexFiles(directory: string): PointFiles {
  const files = new LocalPointFiles(directory)
  return {
    async open(name, signal) {
      if (KEPT.has(name)) return files.open(name, signal)
      return {
        size: 0,
        read: () =>
          Promise.reject(new FleetError('refused', 'the point is encrypted: reading its content needs the identity')),
        [Symbol.asyncDispose]: async () => undefined,
      }
    },
  }
}
