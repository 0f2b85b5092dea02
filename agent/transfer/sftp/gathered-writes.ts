import type { Socket } from 'node:net'

/**
 * What is written to the socket within one turn of the event loop leaves it in one system call. ssh2 writes three times for each
 * packet of 32 KiB, and two of them are a few bytes that would be packets of the network of their own.
 */
export function gatheringWrites(socket: Socket): Socket {
  const write: Socket['write'] = socket.write.bind(socket)
  let isGathering = false
  const send = () => {
    isGathering = false
    socket.uncork()
  }
  // as: the parameters are those of `write`, whichever of its signatures
  socket.write = ((...args: Parameters<Socket['write']>) => {
    if (!isGathering) {
      isGathering = true
      socket.cork()
      process.nextTick(send)
    }
    return write(...args)
  }) as Socket['write']
  return socket
}
