// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// Test token whose `transfer` returns nothing at all, as USDT on mainnet does. Reverts when the balance is too small.
/// Anybody may mint: for local test networks only.
contract SilentToken {
    string public constant name = "Bursar Silent Dollar";
    string public constant symbol = "BSD";
    uint8 public constant decimals = 6;
    uint256 public totalSupply;
    mapping(address => uint256) public balanceOf;

    event Transfer(address indexed from, address indexed to, uint256 value);

    function mint(address to, uint256 value) external {
        totalSupply += value;
        balanceOf[to] += value;
        emit Transfer(address(0), to, value);
    }

    function transfer(address to, uint256 value) external {
        require(balanceOf[msg.sender] >= value, "balance too small");
        balanceOf[msg.sender] -= value;
        balanceOf[to] += value;
        emit Transfer(msg.sender, to, value);
    }
}
