mov r4, 0
mov r0, 0
ja +3
add r0, r2
jslt r4, 4080, +1
exit
mov r2, r0
mov r3, r4
mov r5, r1
add r5, r3
add r4, 1
ldxb r5, [r5]
mov r0, r5
and r0, 127
lsh32 r5, 24
arsh32 r5, 24
jsgt32 r5, -1, -14
mov r5, r1
add r5, r4
ldxb r5, [r5]
lsh r0, 7
mov r4, r5
and r4, 127
or r0, r4
mov r4, r3
add r4, 2
lsh32 r5, 24
arsh32 r5, 24
jsgt32 r5, -1, -26
mov r5, r1
add r5, r4
ldxb r5, [r5]
lsh r0, 7
mov r4, r5
and r4, 127
or r0, r4
mov r4, r3
add r4, 3
lsh32 r5, 24
arsh32 r5, 24
jsgt32 r5, -1, -38
mov r5, r1
add r5, r4
ldxb r5, [r5]
lsh r0, 7
mov r4, r5
and r4, 127
or r0, r4
mov r4, r3
add r4, 4
lsh32 r5, 24
arsh32 r5, 24
jsgt32 r5, -1, -50
mov r5, r1
add r5, r4
ldxb r5, [r5]
lsh r0, 7
mov r4, r5
and r4, 127
or r0, r4
mov r4, r3
add r4, 5
lsh32 r5, 24
arsh32 r5, 24
jsgt32 r5, -1, -62
mov r5, r1
add r5, r4
ldxb r5, [r5]
lsh r0, 7
mov r4, r5
and r4, 127
or r0, r4
mov r4, r3
add r4, 6
lsh32 r5, 24
arsh32 r5, 24
jsgt32 r5, -1, -74
mov r5, r1
add r5, r4
ldxb r5, [r5]
lsh r0, 7
mov r4, r5
and r4, 127
or r0, r4
mov r4, r3
add r4, 7
lsh32 r5, 24
arsh32 r5, 24
jsgt32 r5, -1, -86
mov r5, r1
add r5, r4
ldxb r5, [r5]
lsh r0, 7
mov r4, r5
and r4, 127
or r0, r4
mov r4, r3
add r4, 8
lsh32 r5, 24
arsh32 r5, 24
jsgt32 r5, -1, -98
mov r5, r1
add r5, r4
ldxb r4, [r5]
lsh r0, 8
or r0, r4
add r3, 9
mov r4, r3
ja -106
