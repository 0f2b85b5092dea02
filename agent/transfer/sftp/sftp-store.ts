import type { FileEntryWithStats, Stats } from 'ssh2'
import { FleetError } from '../../../shared/errors.ts'
import type { SftpTargetConfig, TargetSecret } from '../../../shared/target-config.ts'
import type { Dialer } from '../dial.ts'
import { Listing } from '../listing.ts'
import type { RetryPolicy } from '../retry.ts'
import { joinPath, segmentsOf } from '../target-path.ts'
import type { Entry, FreeSpace, Page, Store, StoreFile, Upload, UploadOptions, Watch } from '../transfer.ts'
import { isEnd, isPlainFailure } from './sftp-error.ts'
import { openSftpFile } from './sftp-file.ts'
import { SftpLink } from './sftp-link.ts'
import { SftpUpload } from './sftp-upload.ts'

/** Answers that list one directory: a server may tell one name in each. */
const MAX_BATCHES = 100_000

interface Parts {
  readonly dialer: Dialer
  readonly policy: RetryPolicy
  readonly stallMs: number | undefined
}

/** What statvfs@openssh.com answers (OpenSSH PROTOCOL §4.5). */
interface FileSystemFacts {
  readonly f_frsize: number
  readonly f_blocks: number
  readonly f_bavail: number
}

/** SFTP version 3 with OpenSSH's extensions where the server has them: fsync, posix-rename, statvfs. */
export async function openSftpStore(config: SftpTargetConfig, secret: TargetSecret, parts: Parts): Promise<Store> {
  if (config.hostKey === undefined) throw new FleetError('invalid', 'has no host key to trust', { field: 'host_key' })
  return new SftpStore(new SftpLink(config, secret, parts), config, parts)
}

class SftpStore implements Store {
  readonly features = { renameDirectory: true, refusesFullDirectory: true }
  readonly #link: SftpLink
  readonly #name: string
  readonly #base: string
  readonly #parts: Parts

  constructor(link: SftpLink, { name, base }: Pick<SftpTargetConfig, 'name' | 'base'>, parts: Parts) {
    this.#link = link
    this.#name = name
    this.#base = base
    this.#parts = parts
  }

  async upload(path: string, options: UploadOptions): Promise<Upload> {
    const { policy, stallMs } = this.#parts
    const upload = new SftpUpload({
      ...{ link: this.#link, policy, options, stallMs, name: this.#name, partial: this.#path(options.partialPath) },
      publish: () => this.rename(options.partialPath, path, options),
      freeBytes: async () => (await this.free(options))?.freeBytes,
    })
    await upload.begin()
    return upload
  }

  open(path: string, watch: Watch): Promise<StoreFile> {
    return openSftpFile(this.#link, this.#path(path), watch)
  }

  async list(path: string, { signal, cursor }: Watch & { readonly cursor: string | undefined }): Promise<Page> {
    const link = this.#link
    const session = await link.session(signal)
    const directory = this.#path(path)
    const handle = await link.call<Buffer>(session, signal, (sftp, done) => sftp.opendir(directory, done))
    try {
      const listing = new Listing()
      for (let batches = 0; batches < MAX_BATCHES; batches += 1) {
        // Without `.` and `..`, which ssh2 leaves out: one that is empty is not the end.
        const batch = await link.call<FileEntryWithStats[] | undefined>(session, signal, (sftp, done) =>
          // as: the types know only a path here, the protocol and ssh2 take a handle
          sftp.readdir(handle as unknown as string, (error, list) => done(isEnd(error) ? undefined : error, list)),
        )
        if (batch === undefined) return listing.page(cursor)
        for (const { filename, attrs } of batch) listing.add(entryOf(filename, attrs))
      }
      throw new FleetError('too_large', 'lists a directory in too many answers')
    } finally {
      await link.call(session, signal, (sftp, done) => sftp.close(handle, done)).catch(() => undefined)
    }
  }

  async stat(path: string, { signal }: Watch): Promise<Entry | undefined> {
    const session = await this.#link.session(signal)
    try {
      const stats = await this.#link.call<Stats>(session, signal, (sftp, done) => sftp.lstat(this.#path(path), done))
      return entryOf(segmentsOf(path).at(-1) ?? '', stats)
    } catch (error) {
      if (error instanceof FleetError && error.code === 'not_found') return undefined
      throw error
    }
  }

  async remove(path: string, watch: Watch): Promise<void> {
    const entry = await this.stat(path, watch)
    if (entry === undefined) return
    const name = this.#path(path)
    const session = await this.#link.session(watch.signal)
    const conflict = new FleetError('conflict', 'the directory is not empty')
    await this.#link
      .call(session, watch.signal, (sftp, done) =>
        entry.kind === 'directory' ? sftp.rmdir(name, done) : sftp.unlink(name, done),
      )
      .catch((error: unknown) => {
        throw entry.kind === 'directory' && isPlainFailure(error) ? conflict : error
      })
  }

  async rename(from: string, to: string, options: Watch & { readonly replace: boolean }): Promise<void> {
    const { signal, replace } = options
    const [source, destination] = [this.#path(from), this.#path(to)]
    const session = await this.#link.session(signal)
    if (replace) {
      const offered = await this.#link.optional(session, signal, (sftp, done) =>
        sftp.ext_openssh_rename(source, destination, done),
      )
      if (offered) return
    }
    try {
      await this.#link.call(session, signal, (sftp, done) => sftp.rename(source, destination, done))
    } catch (error) {
      const there = isPlainFailure(error) && (await this.stat(to, options)) !== undefined
      if (there && replace) throw new FleetError('refused', 'cannot replace a file in one step', { cause: error })
      throw there ? new FleetError('exists', 'the destination exists already', { cause: error }) : error
    }
  }

  async mkdir(path: string, { signal }: Watch): Promise<void> {
    const session = await this.#link.session(signal)
    try {
      await this.#link.call(session, signal, (sftp, done) => sftp.mkdir(this.#path(path), { mode: 0o700 }, done))
    } catch (error) {
      const kind = isPlainFailure(error) ? (await this.stat(path, { signal }))?.kind : undefined
      if (kind === undefined) throw error
      if (kind !== 'directory') throw new FleetError('exists', 'a file is in the place of a directory')
    }
  }

  async ping(watch: Watch): Promise<void> {
    const { signal } = watch
    const session = await this.#link.session(signal)
    const base = await this.#link.call<Stats>(session, signal, (sftp, done) => sftp.stat(this.#path(''), done))
    if (!base.isDirectory()) throw new FleetError('not_found', 'has no such base directory')
  }

  async free({ signal }: Watch): Promise<FreeSpace | undefined> {
    const session = await this.#link.session(signal)
    let facts: FileSystemFacts | undefined
    await this.#link.optional(session, signal, (sftp, done) =>
      sftp.ext_openssh_statvfs(this.#path(''), (error, answer: FileSystemFacts) => {
        facts = answer
        done(error)
      }),
    )
    if (facts === undefined) return undefined
    return { freeBytes: facts.f_bavail * facts.f_frsize, totalBytes: facts.f_blocks * facts.f_frsize }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#link[Symbol.dispose]()
  }

  /** A base without a slash in front lies below the directory that the login leads to. */
  #path(path: string): string {
    const below = joinPath(this.#base, path)
    if (this.#base.startsWith('/')) return `/${below}`
    return below === '' ? '.' : below
  }
}

function entryOf(name: string, stats: Pick<Stats, 'isFile' | 'isDirectory' | 'size' | 'mtime'>): Entry {
  const kind = stats.isFile() ? 'file' : stats.isDirectory() ? 'directory' : 'other'
  return { name, kind, sizeBytes: kind === 'file' ? stats.size : 0, modifiedAt: new Date(stats.mtime * 1000) }
}
