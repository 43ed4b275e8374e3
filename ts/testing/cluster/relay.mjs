/**
 * Carries connections into a network namespace: it is started inside of one, is handed listening
 * sockets that belong to the namespace of who started it, and connects each connection that arrives
 * there to an address of its own. It ends with who started it.
 */

import { connect } from 'node:net'

process.on('message', ({ host, port }, server) => {
  server.on('connection', (arrived) => {
    const onward = connect({ host, port, noDelay: true })
    arrived.setNoDelay(true)
    for (const [from, to] of [
      [arrived, onward],
      [onward, arrived],
    ]) {
      from.pipe(to)
      // A node that is killed, or does not listen, ends the client's connection, too.
      from.on('error', () => to.destroy())
      from.on('close', () => to.destroy())
    }
  })
})
process.on('disconnect', () => process.exit())
process.send('here')
