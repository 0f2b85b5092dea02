import { FleetError } from '../../../shared/errors.ts'
import type { StoreFile, Watch } from '../transfer.ts'
import type { SftpSession } from './sftp-connection.ts'
import { isEnd } from './sftp-error.ts'
import type { SftpLink } from './sftp-link.ts'

/** As of uploads: of servers that give less, ssh2 asks several times. */
const PIECE_BYTES = 7 * 32_768 - 64
const MAX_IN_FLIGHT = 10

/** A file read by pieces that are asked for side by side; opened again by itself after its connection broke. */
export async function openSftpFile(link: SftpLink, path: string, { signal }: Watch): Promise<StoreFile> {
  const open = async (within: AbortSignal) => {
    const session = await link.session(within)
    return { session, handle: await link.call<Buffer>(session, within, (sftp, done) => sftp.open(path, 'r', done)) }
  }
  let file: { readonly session: SftpSession; readonly handle: Buffer } | undefined = await open(signal)
  const { session, handle } = file
  const { size } = await link.call<{ size: number }>(session, signal, (sftp, done) => sftp.fstat(handle, done))

  return {
    sizeBytes: size,
    async *stream(offset, length, within) {
      const { session, handle } = file ?? (await open(within))
      file = { session, handle }
      const end = Math.min(offset + length, size)
      let asked = offset
      const pending: Promise<Buffer>[] = []
      try {
        for (let at = offset; at < end; ) {
          for (; asked < end && pending.length < MAX_IN_FLIGHT; asked += PIECE_BYTES) {
            const piece = readPiece(
              link,
              { session, handle },
              { at: asked, end: Math.min(asked + PIECE_BYTES, end) },
              within,
            )
            piece.catch(() => undefined) // whoever comes to it throws it
            pending.push(piece)
          }
          const bytes = await pending.shift()
          if (bytes === undefined) return
          at += bytes.length
          yield bytes
        }
      } catch (error) {
        file = undefined
        throw error
      }
    },
    async close() {
      const last = file
      file = undefined
      if (last === undefined) return
      const closing = AbortSignal.timeout(CLOSE_MS)
      await link.call(last.session, closing, (sftp, done) => sftp.close(last.handle, done)).catch(() => undefined)
    },
  }
}
const CLOSE_MS = 5_000

/** A server may answer with less than it was asked for. @throws FleetError `corrupt` where the file ends early */
async function readPiece(
  link: SftpLink,
  file: { readonly session: SftpSession; readonly handle: Buffer },
  range: { readonly at: number; readonly end: number },
  signal: AbortSignal,
): Promise<Buffer> {
  const buffer = Buffer.allocUnsafeSlow(range.end - range.at)
  for (let filled = 0; filled < buffer.length; ) {
    const bytesRead = await link.call<number>(file.session, signal, (sftp, done) =>
      sftp.read(file.handle, buffer, filled, buffer.length - filled, range.at + filled, (error, count) =>
        done(isEnd(error) ? undefined : error, isEnd(error) ? 0 : count),
      ),
    )
    if (bytesRead === 0) throw new FleetError('corrupt', 'the file is shorter than it was')
    filled += bytesRead
  }
  return buffer
}
