lddw r0, 0xcbf29ce484222325
mov r2, 0
lddw r3, 0x100000001b3
mov r4, r1
add r4, r2
ldxb r4, [r4]
xor r0, r4
mul r0, r3
add r2, 1
jeq r2, 4096, +1
ja -8
exit
