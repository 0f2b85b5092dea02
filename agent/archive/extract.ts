import { closeSync } from 'node:fs'
import { FleetError } from '../../shared/errors.ts'
import { type BytePath, displayPath, isWithin, nameOf } from './byte-path.ts'
import type { Chain } from './chain.ts'
import { ReadPlan } from './read/read-plan.ts'
import type { BuildPolicy } from './read/tree-builder.ts'
import { runReader } from './run-reader.ts'
import { openUnlinked } from './write/spool.ts'
import type { ArchiveWatch } from './write-archive.ts'

/** So many are worth the start of a thread, if they have no more bytes each on the average. */
const MANY_FILES = 4_096
/** Of a million, two threads took no less time than one, and 13 MiB more. */
const TOO_MANY_FILES = 250_000
const SMALL_FILE_BYTES = 2 ** 16

export interface ExtractRequest {
  readonly subject: string
  readonly chain: Chain
  /**
   * '' extracts the whole tree into the directory; a directory's path what is below it; a file's path the file itself,
   * under its own name.
   */
  readonly path: BytePath
  /** An empty directory, open for reading; stays open. It gets the metadata of the directory that was asked for. */
  readonly rootFd: number
  readonly policy: Omit<BuildPolicy, 'ordered'>
  readonly scratch: string
}

export interface Extracted {
  readonly files: number
  readonly bytes: number
}

/**
 * Reads only the frames that hold what is asked for. What is half made when it fails stays for the caller to remove: the
 * directory is a staged one.
 * @throws not_found; refused (a member that would lead out); corrupt, naming the member; cancelled
 */
export async function extract(request: ExtractRequest, watch: ArchiveWatch): Promise<Extracted> {
  const { chain, path, subject, rootFd, policy, scratch } = request
  const top = await chain.find(path, watch.signal)
  if (top === undefined) throw new FleetError('not_found', `'${displayPath(path)}' is not in this point`)
  const isTree = top.member.type === 'directory'
  const linkSpillFd = openUnlinked(scratch)
  try {
    return await runReader(
      {
        subject,
        mode: 'extract',
        rootFd,
        policy: { ...policy, ordered: true },
        isOfManyFiles: isOfManyFiles(chain, path),
      },
      async (send, signal) => {
        const plan = new ReadPlan(chain, send, signal, {
          sequential: path === '',
          tolerant: false,
          asStored: false,
          linkSpillFd,
        })
        if (isTree) {
          for await (const found of chain.members(path, signal)) {
            if (!isWithin(found.member.path, path)) break
            await plan.add(found, below(found.member.path, path))
          }
        } else await plan.add(top, nameOf(path))
        await plan.flush()
      },
      watch,
    )
  } finally {
    closeSync(linkSpillFd)
  }
}

/** Whether making files takes most of the time. Of a part of a tree nobody knows how much it is; of large files each byte would be copied once more. */
export function isOfManyFiles(chain: Chain, path: BytePath): boolean {
  let [members, bytes] = [0, 0]
  for (const { table } of chain.points) {
    members += table.totals.members
    bytes += table.totals.contentBytes
  }
  const areMany = members >= MANY_FILES && members <= TOO_MANY_FILES
  return path === '' && areMany && bytes / members <= SMALL_FILE_BYTES
}

function below(path: BytePath, directory: BytePath): BytePath {
  return directory === '' ? path : path.slice(directory.length + 1)
}
