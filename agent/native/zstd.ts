import koffi from 'koffi'
import { FleetError } from '../../shared/errors.ts'
import { libc } from './libc.ts'
import { release } from './release.ts'

/** ZSTD_cParameter, zstd.h (stable since 1.4). */
const COMPRESSION_LEVEL = 100
const CHECKSUM_FLAG = 201
const WINDOW_LOG = 101
const HASH_LOG = 102
const MIN_MATCH = 105
const STRATEGY = 107
/**
 * What level 3 is here. It has two tables of 768 KiB together, which two processors at work take out of each other's caches. One of 256 KiB, over a window
 * that reaches through a whole frame, and matches from 7 bytes on take a third less time; what that does to sizes tells docs/decisions/0065.
 */
const USUAL_LEVEL = 3
const USUAL_SETTINGS = [
  [STRATEGY, 1], // ZSTD_fast
  [WINDOW_LOG, 22],
  [HASH_LOG, 16],
  [MIN_MATCH, 7],
] as const
/** Debian's name of the library that the `zstd` tool itself uses. */
const SYSTEM_LIBRARY = 'libzstd.so.1'

type Context = object

/** The few calls of libzstd that compress one buffer into another with a context that is used again and again. */
function load() {
  const library = openLibrary()
  // The declaration beside each name is the type: koffi itself offers only `any`.
  return {
    create: library.func('ZSTD_createCCtx', 'void *', []) as () => Context,
    free: library.func('ZSTD_freeCCtx', 'size_t', ['void *']) as (context: Context) => number,
    set: library.func('ZSTD_CCtx_setParameter', 'size_t', ['void *', 'int', 'int']) as (
      context: Context,
      parameter: number,
      value: number,
    ) => number,
    bound: library.func('ZSTD_compressBound', 'size_t', ['size_t']) as (bytes: number) => number,
    isError: library.func('ZSTD_isError', 'uint', ['size_t']) as (code: number) => number,
    createDecompression: library.func('ZSTD_createDCtx', 'void *', []) as () => Context,
    decompress: library.func('ZSTD_decompressDCtx', 'size_t', ['void *', 'void *', 'size_t', 'void *', 'size_t']) as {
      async(
        context: Context,
        target: Buffer,
        capacity: number,
        source: Uint8Array,
        bytes: number,
        done: (error: Error | null, result: number) => void,
      ): void
    },
    compress: library.func('ZSTD_compress2', 'size_t', ['void *', 'void *', 'size_t', 'void *', 'size_t']) as {
      async(
        context: Context,
        target: Buffer,
        capacity: number,
        source: Buffer,
        bytes: number,
        done: (error: Error | null, result: number) => void,
      ): void
    },
  }
}

/** Node carries zstd and exports it, as addons link against it; a build that does not leaves the system's. */
function openLibrary() {
  libc() // it sets what can only be set before the first library is loaded
  const own = koffi.load(null)
  try {
    own.func('ZSTD_createCCtx', 'void *', [])
    return own
  } catch {
    return koffi.load(SYSTEM_LIBRARY)
  }
}

let loaded: ReturnType<typeof load> | undefined

/**
 * One zstd context with the buffer it compresses into: memory that is taken once and does not wait for a collector.
 * One frame at a time.
 */
export class ZstdCompressor implements Disposable {
  readonly #zstd: ReturnType<typeof load>
  readonly #context: Context
  readonly #target: Buffer

  constructor(settings: { readonly level: number; readonly maxBytes: number }) {
    loaded ??= load()
    this.#zstd = loaded
    this.#context = this.#zstd.create()
    this.#zstd.set(this.#context, COMPRESSION_LEVEL, settings.level)
    this.#zstd.set(this.#context, CHECKSUM_FLAG, 1)
    if (settings.level === USUAL_LEVEL)
      for (const [parameter, value] of USUAL_SETTINGS) this.#zstd.set(this.#context, parameter, value)
    this.#target = Buffer.allocUnsafeSlow(Number(this.#zstd.bound(settings.maxBytes)))
  }

  /** One frame that stands by itself and says its size, made on a thread of libuv's pool. @returns valid until the next */
  compress(source: Buffer): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const { compress, isError } = this.#zstd
      compress.async(this.#context, this.#target, this.#target.length, source, source.length, (error, result) => {
        void source // the library is reading it; it must live until now
        const bytes = Number(result)
        if (error !== null) reject(error)
        else if (isError(result) !== 0) reject(new FleetError('internal', 'a frame cannot be compressed'))
        else resolve(this.#target.subarray(0, bytes))
      })
    })
  }

  /** Not while it compresses. */
  [Symbol.dispose](): void {
    this.#zstd.free(this.#context)
    release(this.#target)
  }
}

/** Contexts that nobody uses now: as many as were ever used at once, 160 KiB each. A collector would free them too late. */
const idleDecompressions: Context[] = []

/**
 * Decompresses one frame whole, on a thread of libuv's pool, into memory of its own that no pool shares.
 * @param rawBytes what it was declared to be @returns undefined for bytes that are no such frame, or one of another size
 */
export async function decompressWhole(source: Uint8Array, rawBytes: number): Promise<Buffer | undefined> {
  loaded ??= load()
  const { createDecompression, decompress, isError } = loaded
  const context = idleDecompressions.pop() ?? createDecompression()
  const target = Buffer.allocUnsafeSlow(rawBytes)
  try {
    const result = await new Promise<number>((resolve, reject) => {
      decompress.async(context, target, rawBytes, source, source.length, (error, code) => {
        if (error === null) resolve(Number(code))
        else reject(error)
      })
    })
    return isError(result) === 0 && result === rawBytes ? target : undefined
  } finally {
    idleDecompressions.push(context)
  }
}
