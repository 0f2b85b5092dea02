import { createHash } from 'node:crypto'
import koffi from 'koffi'
import { FleetError } from '../../shared/errors.ts'
import { libc } from './libc.ts'

export type Algorithm = 'sha256' | 'md5'

/** What is shorter is hashed at once: to hand it to another thread and back takes about as long. */
const SHORT_BYTES = 131_072
const DIGEST_BYTES = { sha256: 32, md5: 16 } as const

type Address = object
type Done = (error: Error | null, result: number) => void

/** The few calls of libcrypto that hash bytes from where they lie. */
function load() {
  libc() // it sets what can only be set before the first library is loaded
  const own = koffi.load(null)
  // The declaration beside each name is the type: koffi itself offers only `any`.
  return {
    kinds: {
      sha256: own.func('EVP_sha256', 'void *', []) as () => Address,
      md5: own.func('EVP_md5', 'void *', []) as () => Address,
    },
    create: own.func('EVP_MD_CTX_new', 'void *', []) as () => Address,
    free: own.func('EVP_MD_CTX_free', 'void', ['void *']) as (context: Address) => void,
    init: own.func('EVP_DigestInit_ex', 'int', ['void *', 'void *', 'void *']) as (
      context: Address,
      kind: Address,
      engine: null,
    ) => number,
    update: own.func('EVP_DigestUpdate', 'int', ['void *', 'void *', 'size_t']) as {
      (context: Address, bytes: Uint8Array, length: number): number
      async(context: Address, bytes: Uint8Array, length: number, done: Done): void
    },
    end: own.func('EVP_DigestFinal_ex', 'int', ['void *', 'void *', 'void *']) as (
      context: Address,
      digest: Buffer,
      length: null,
    ) => number,
  }
}

let loaded: ReturnType<typeof load> | undefined | 'absent'

/** Node carries OpenSSL and exports it, as addons link against it. @returns undefined in a build that does not */
function library(): ReturnType<typeof load> | undefined {
  try {
    loaded ??= load()
  } catch {
    loaded = 'absent'
  }
  return loaded === 'absent' ? undefined : loaded
}

/** A hash whose long pieces are worked on by a thread of libuv's pool, while this one goes on. One piece at a time. */
export interface PoolHash extends Disposable {
  /** The bytes must stay as they are until this resolves. */
  update(bytes: Uint8Array): Promise<void>
  /** Ends it. */
  digest(): Buffer
}

export function poolHash(algorithm: Algorithm): PoolHash {
  const native = library()
  return native === undefined ? hashHere(algorithm) : new HashElsewhere(native, algorithm)
}

/** The same by this thread, for a Node that exports nothing. */
export function hashHere(algorithm: Algorithm): PoolHash {
  const hash = createHash(algorithm)
  return {
    update: async (bytes) => void hash.update(bytes),
    digest: () => hash.digest(),
    [Symbol.dispose]: () => undefined,
  }
}

export async function hashOnPool(algorithm: Algorithm, bytes: Uint8Array): Promise<Buffer> {
  using hash = poolHash(algorithm)
  await hash.update(bytes)
  return hash.digest()
}

class HashElsewhere implements PoolHash {
  readonly #native: ReturnType<typeof load>
  readonly #digestBytes: number
  #context: Address | undefined
  #working = false

  constructor(native: ReturnType<typeof load>, algorithm: Algorithm) {
    this.#native = native
    this.#digestBytes = DIGEST_BYTES[algorithm]
    this.#context = native.create()
    const isReady = native.init(this.#context, native.kinds[algorithm](), null)
    if (isReady !== 1) this[Symbol.dispose]()
    this.#must(isReady)
  }

  async update(bytes: Uint8Array): Promise<void> {
    const context = this.#open()
    if (bytes.length < SHORT_BYTES) return this.#must(this.#native.update(context, bytes, bytes.length))
    this.#working = true
    const done = await new Promise<number>((resolve, reject) => {
      this.#native.update.async(context, bytes, bytes.length, (error, result) => {
        void bytes // the library is reading them; they must live until now
        if (error === null) resolve(result)
        else reject(error)
      })
    }).finally(() => this.#settled(context))
    this.#must(done)
  }

  digest(): Buffer {
    const digest = Buffer.alloc(this.#digestBytes)
    this.#must(this.#native.end(this.#open(), digest, null))
    this[Symbol.dispose]()
    return digest
  }

  /** Of one at work what it holds is freed behind that. */
  [Symbol.dispose](): void {
    const context = this.#context
    this.#context = undefined
    if (context !== undefined && !this.#working) this.#native.free(context)
  }

  #open(): Address {
    if (this.#context === undefined || this.#working)
      throw new FleetError('internal', 'a hash has ended, or is at work')
    return this.#context
  }

  #settled(context: Address): void {
    this.#working = false
    if (this.#context === undefined) this.#native.free(context)
  }

  #must(result: number): void {
    if (result !== 1) throw new FleetError('internal', 'bytes cannot be hashed')
  }
}
