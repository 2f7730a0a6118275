mov r6, r1
ldxw r2, [r6]
jlt32 r2, 255, +1
mov32 r2, 255
mov32 r3, 0
mov r0, 0
ldxdw r4, [r6+2048]
add r6, 8
ja +27
mov32 r9, r7
jlt32 r7, r8, +11
lddw r1, 0x5851f42d4c957f2d
mul r4, r1
lddw r1, 0x14057b7ef767814f
add r4, r1
mov32 r1, r7
add r0, r1
add32 r3, 1
jeq32 r3, 256, +20
ja +14
mov32 r7, r8
add32 r7, r9
rsh32 r7, 1
mov r5, r7
lsh r5, 3
mov r1, r6
add r1, r5
ldxdw r5, [r1]
jlt r5, r4, +1
mov32 r8, r7
add32 r7, 1
jlt r5, r4, -25
mov32 r7, r9
ja -27
mov32 r7, 0
jeq32 r2, 0, -27
mov32 r9, 0
mov32 r8, r2
ja -19
exit
